"""Keys given out: always wrapped, only where their policy lets them go, and written down for ever."""
