"""What is measured: time, memory, scores, designs."""
