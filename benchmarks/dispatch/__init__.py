"""How fast single questions are asked: runner beside what people use today, against one fast server."""
