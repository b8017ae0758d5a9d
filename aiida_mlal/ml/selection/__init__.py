"""Which structures of a pool are worth a label: filters, then a query strategy."""
