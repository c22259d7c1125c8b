"""What a person looks at: screen, accuracy, report, pictures."""
