"""Questions about results: how true is it, and what would be better?"""
