"""The paper's tables and figures beside ours: tables, claims, pictures and the page of all."""
