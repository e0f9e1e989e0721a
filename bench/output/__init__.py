"""What a measure comes to: results, goals, the table, the plots, the page."""
