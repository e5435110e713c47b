"""Images in: files, bytes, arrays and Pillow images become messages."""
