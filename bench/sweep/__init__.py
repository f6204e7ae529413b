"""The sweep: public functions of a framework, at ordinary and at edge inputs, each through `gradverify.check`."""
