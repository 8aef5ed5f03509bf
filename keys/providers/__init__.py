"""Where key material lives; knows no models."""
