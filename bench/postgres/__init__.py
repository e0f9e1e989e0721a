"""PostgreSQL under the product's statements: a large dataset, a case of each statement, plans and pages."""
