"""The student in the formats that it is deployed in."""
