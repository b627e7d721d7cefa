"""handhold: does attenuation under threat follow the mu-opioid receptors?"""
