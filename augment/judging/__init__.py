"""Before and after: both arms, the verdict, the report."""
