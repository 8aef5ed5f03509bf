"""What stands around the providers: registering them, calling them safely, their work, and what they really hold."""
