"""What a stack consists of that others have made: packages, plugins, images, and their licences."""
