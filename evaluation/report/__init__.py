"""Tables, report.html, compare.html, images and videos of an evaluation."""
