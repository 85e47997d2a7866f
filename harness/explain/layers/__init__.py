"""How far two sides are apart at each layer: points matched, tapped, fed and compared."""
