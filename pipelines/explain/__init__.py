"""Why a decision was made: from the source records to the rule, and to the reviewer."""
