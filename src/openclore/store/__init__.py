"""What is kept: tables, migrations, queries and the unit of work, on SQLite and PostgreSQL."""
