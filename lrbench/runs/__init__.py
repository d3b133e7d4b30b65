"""One run or many: from composed values to trained and recorded runs, here, on workers or on other machines."""
