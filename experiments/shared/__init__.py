"""What the rooms share: files into folders, tables, packages of extras."""
