"""Random graphs by the hundred thousand, in processes that may crash."""
