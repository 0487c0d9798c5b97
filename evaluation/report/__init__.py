"""Numbers to what people look at: tables, report.html, compare.html, images and videos."""
