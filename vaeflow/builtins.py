"""The built-in parts, registered through the same hooks as any plugin's."""

from __future__ import annotations

from vaeflow.hookspecs import Register, hookimpl


@hookimpl
def vaeflow_register_datasets(register: Register) -> None:
    """Offer the built-in datasets."""
    register("digits", "vaeflow.datasets.digits:Digits")
    register("mnist", "vaeflow.datasets.mnist:MNIST")
    register("fashion-mnist", "vaeflow.datasets.mnist:FashionMNIST")
    register("kmnist", "vaeflow.datasets.mnist:KMNIST")
    register("binarized-mnist", "vaeflow.datasets.binarized_mnist:BinarizedMNIST")
    register("omniglot", "vaeflow.datasets.omniglot:Omniglot")
    register(
        "caltech101-silhouettes", "vaeflow.datasets.caltech101_silhouettes:Caltech101Silhouettes"
    )
    register("freyfaces", "vaeflow.datasets.freyfaces:FreyFaces")
    register("images", "vaeflow.datasets.images:Images")
    register("file", "vaeflow.datasets.file:File")
    register("energies", "vaeflow.datasets.energies:Energies")


@hookimpl
def vaeflow_register_encoders(register: Register) -> None:
    """Offer the built-in encoders."""
    register("mlp", "vaeflow.encoders.mlp:MLP")
    register("conv", "vaeflow.encoders.conv:Conv")
    register("gated-conv", "vaeflow.encoders.gated_conv:GatedConv")
    register("resnet", "vaeflow.encoders.resnet:ResNet")


@hookimpl
def vaeflow_register_posteriors(register: Register) -> None:
    """Offer the built-in posteriors."""
    register("identity", "vaeflow.posteriors.identity:Identity")
    register("full-gaussian", "vaeflow.posteriors.full_gaussian:FullGaussian")
    register("householder", "vaeflow.posteriors.householder:Householder")
    register("planar", "vaeflow.posteriors.planar:Planar")
    register("radial", "vaeflow.posteriors.radial:Radial")
    register("iaf", "vaeflow.posteriors.iaf:IAF")
    register("mixture", "vaeflow.posteriors.mixture:Mixture")
    register("realnvp", "vaeflow.posteriors.realnvp:RealNVP")
    register("spline", "vaeflow.posteriors.spline:Spline")


@hookimpl
def vaeflow_register_priors(register: Register) -> None:
    """Offer the built-in priors."""
    register("normal", "vaeflow.priors.normal:Normal")
    register("mixture", "vaeflow.priors.mixture:Mixture")
    register("flow", "vaeflow.priors.flow:FlowPrior")
    register("vamp", "vaeflow.priors.vamp:Vamp")


@hookimpl
def vaeflow_register_decoders(register: Register) -> None:
    """Offer the built-in decoders."""
    register("mlp", "vaeflow.decoders.mlp:MLP")
    register("conv", "vaeflow.decoders.conv:Conv")
    register("gated-conv", "vaeflow.decoders.gated_conv:GatedConv")
    register("resnet", "vaeflow.decoders.resnet:ResNet")


@hookimpl
def vaeflow_register_likelihoods(register: Register) -> None:
    """Offer the built-in likelihoods."""
    register("bernoulli", "vaeflow.likelihoods.bernoulli:Bernoulli")
    register("continuous-bernoulli", "vaeflow.likelihoods.continuous_bernoulli:ContinuousBernoulli")
    register("gaussian", "vaeflow.likelihoods.gaussian:Gaussian")
    register("laplace", "vaeflow.likelihoods.laplace:Laplace")
    register("student-t", "vaeflow.likelihoods.student_t:StudentT")
    register("categorical", "vaeflow.likelihoods.categorical:Categorical")
    register("discretized-logistic", "vaeflow.likelihoods.discretized_logistic:DiscretizedLogistic")
    register(
        "discretized-logistic-mixture",
        "vaeflow.likelihoods.discretized_logistic_mixture:DiscretizedLogisticMixture",
    )
    register("poisson", "vaeflow.likelihoods.poisson:Poisson")
    register("negative-binomial", "vaeflow.likelihoods.negative_binomial:NegativeBinomial")


@hookimpl
def vaeflow_register_objectives(register: Register) -> None:
    """Offer the built-in objectives."""
    register("elbo", "vaeflow.objectives.elbo:ELBO")
    register("iwae", "vaeflow.objectives.iwae:IWAE")
    register("dreg", "vaeflow.objectives.iwae:DReG")
    register("stl", "vaeflow.objectives.stl:STL")
