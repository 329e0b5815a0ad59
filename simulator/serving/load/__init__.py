"""What a server is offered: requests, adapters, their popularity, traces and presets."""
