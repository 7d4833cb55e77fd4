"""`vic store check`: whether what storage keeps is whole, and making it so again."""
