"""TLS of servers: configuration that is generated and proved, live endpoints scanned, pins, DNS records, manifests."""
