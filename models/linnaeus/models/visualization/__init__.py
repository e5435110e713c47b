"""What a network makes of one picture: feature maps, a class-activation heat map and its first guesses, drawn.

`image_analysis` runs the network, `output_files` writes; in between, `feature_maps` and `grad_cam` ask the network and
`feature_map_grid`, `contact_sheet` and `html_page` draw.
Nothing here knows of commands, of the repository of versions or of the server.
"""
