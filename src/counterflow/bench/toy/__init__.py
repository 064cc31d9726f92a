"""What is measured on the bundled world alone: text features, generated pictures, a gallery."""
