"""From tables to figures and the page."""
