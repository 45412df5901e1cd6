"""Themes. Colours live here and nowhere else; screens and widgets use design tokens."""
