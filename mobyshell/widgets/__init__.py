"""What screens share. Widgets know values, never the store."""
