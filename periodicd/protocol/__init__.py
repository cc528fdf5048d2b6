"""What is said on the wire, as values: params that were checked, and answers. No rule and no store is known here."""
