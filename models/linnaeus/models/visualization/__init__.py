"""Visualizes what a network computes for one image: feature maps, Grad-CAM heat map and top-5 predictions.

`image_analysis` runs the network, with `feature_maps` and `grad_cam`. `contact_sheet`, `feature_map_image`, `heat_map`
and `html_page` draw the result, and `output_files` writes it.
"""
