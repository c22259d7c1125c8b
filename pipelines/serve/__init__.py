"""What others ask of the tables: a feed of changes, and the latest of each subject."""
