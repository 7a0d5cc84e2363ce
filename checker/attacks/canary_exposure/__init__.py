"""Planted patients: how far do those trained on stand out?"""
