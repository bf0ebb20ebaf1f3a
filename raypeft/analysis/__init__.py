"""From the ledger to claims: ranking, tables, figures, report."""
