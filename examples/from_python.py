"""A sweep from Python. Run it as a script, or cell by cell in Jupyter or VS Code.

It takes minutes on two CPU cores and downloads nothing: the images are scikit-learn's digits, the backbone
comes with the installation.
"""

# %%
import raypeft as rp

sweep = rp.Sweep(
    name="from_python",
    cells=rp.grid(
        method=["linear", "bias"],
        model=["efficientnet_lite0"],
        dataset=["digits"],  # or "folder:/data/ultrasound", "csv:/data/labels.csv"
        fraction=[0.1],
    ),
    search=rp.Search(trials=2, lr=rp.LogUniform(low=1e-3, high=1e-1)),
    recipe=rp.Recipe(epochs=2, batch_size=16, micro_batch_size=16, image_size=40),
    final_seeds=[0, 1],
)

# %% Every check, and what the sweep will take; starts nothing
plan = rp.plan(sweep, "runs/from_python")
print(plan)

# %% Train what the store does not hold yet; the same line resumes
results = rp.run(sweep, "runs/from_python")

# %% One row per trial
print(results.trials[["method", "stage", "seed", "lr", "status", "test/f1_macro"]])

# %% Which method is best, and how certain is that?
ranking = results.rank()
print(ranking.summary)
print(ranking.table)

# %%
ranking.plot().savefig("ranking.png")
print(results.report("report.html"))
