"""The whole service on a real engine for hours: does it leak, lose, miscount or differ?"""
