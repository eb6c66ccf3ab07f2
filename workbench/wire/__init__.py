"""What programs get over the wire: types, values, JSON schemas."""
