"""The screens of the dashboard: the menu of profiles, a run, help and questions."""
