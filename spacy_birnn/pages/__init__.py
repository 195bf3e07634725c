"""Self-contained HTML pages, and charts for them."""
