"""The references of the text for a paper."""

REFERENCES = {
    "Akiba et al. 2019": "Akiba T. et al. Optuna: a next-generation hyperparameter optimization framework. "
    "KDD 2019.",
    "Demsar 2006": "Demsar J. Statistical comparisons of classifiers over multiple data sets. Journal of "
    "Machine Learning Research 7, 2006.",
    "Dutt et al. 2024": "Dutt R. et al. Parameter-efficient fine-tuning for medical image analysis: the "
    "missed "
    "opportunity. MIDL 2024.",
    "Hsu 1996": "Hsu J. C. Multiple comparisons: theory and methods. Chapman and Hall, 1996.",
    "Kramer 1956": "Kramer C. Y. Extension of multiple range tests to group means with unequal numbers of "
    "replications. Biometrics 12, 1956.",
    "Li et al. 2020": "Li L. et al. A system for massively parallel hyperparameter tuning. MLSys 2020.",
    "Loshchilov and Hutter 2019": "Loshchilov I., Hutter F. Decoupled weight decay regularization. ICLR "
    "2019.",
    "Smyth 2004": "Smyth G. K. Linear models and empirical Bayes methods for assessing differential "
    "expression in microarray experiments. Statistical Applications in Genetics and Molecular Biology 3, "
    "2004.",
    "Tukey 1953": "Tukey J. W. The problem of multiple comparisons. Princeton University, 1953.",
}
"""By what stands in the text."""
