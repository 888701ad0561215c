"""Memory: free pages by node and the policy that hands them out, and the locks that threads meet."""
