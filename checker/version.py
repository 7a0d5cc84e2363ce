"""The version of phigate, where every module can read it."""

PHIGATE_VERSION = "0.8.0"
