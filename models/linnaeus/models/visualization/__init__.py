"""What a network makes of one picture: feature maps, a class-activation heat map and its first guesses, drawn.

`sight` looks, `files` writes; in between, `stages` and `heat_map` ask the network and `grid`, `sheet` and `page` draw.
Nothing here knows of commands, of the repository of versions or of the server.
"""
