"""The sockets: addresses, connections, and the loop that drives the engine. trio lives here; no rule does."""
