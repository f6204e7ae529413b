"""Op name -> a framework's function of the same mathematics; one module per framework."""
