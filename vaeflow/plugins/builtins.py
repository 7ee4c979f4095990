"""The built-in parts, registered through the same hooks as any plugin's."""

from __future__ import annotations

from vaeflow.plugins.hookspecs import Register, hookimpl


@hookimpl
def vaeflow_register_datasets(register: Register) -> None:
    """Offer the built-in datasets."""
    register("digits", "vaeflow.parts.datasets.digits:Digits")
    register("mnist", "vaeflow.parts.datasets.mnist:MNIST")
    register("fashion-mnist", "vaeflow.parts.datasets.mnist:FashionMNIST")
    register("kmnist", "vaeflow.parts.datasets.mnist:KMNIST")
    register("binarized-mnist", "vaeflow.parts.datasets.binarized_mnist:BinarizedMNIST")
    register("omniglot", "vaeflow.parts.datasets.omniglot:Omniglot")
    register(
        "caltech101-silhouettes",
        "vaeflow.parts.datasets.caltech101_silhouettes:Caltech101Silhouettes",
    )
    register("freyfaces", "vaeflow.parts.datasets.freyfaces:FreyFaces")
    register("images", "vaeflow.parts.datasets.images:Images")
    register("file", "vaeflow.parts.datasets.file:File")
    register("table", "vaeflow.parts.datasets.table:Table")
    register("given", "vaeflow.parts.datasets.given:Given")
    register("energies", "vaeflow.parts.datasets.energies:Energies")


@hookimpl
def vaeflow_register_encoders(register: Register) -> None:
    """Offer the built-in encoders."""
    register("mlp", "vaeflow.parts.encoders.mlp:MLP")
    register("conv", "vaeflow.parts.encoders.conv:Conv")
    register("gated-conv", "vaeflow.parts.encoders.gated_conv:GatedConv")
    register("resnet", "vaeflow.parts.encoders.resnet:ResNet")


@hookimpl
def vaeflow_register_posteriors(register: Register) -> None:
    """Offer the built-in posteriors."""
    register("identity", "vaeflow.parts.posteriors.identity:Identity")
    register("full-gaussian", "vaeflow.parts.posteriors.full_gaussian:FullGaussian")
    register("householder", "vaeflow.parts.posteriors.householder:Householder")
    register("planar", "vaeflow.parts.posteriors.planar:Planar")
    register("radial", "vaeflow.parts.posteriors.radial:Radial")
    register("iaf", "vaeflow.parts.posteriors.iaf:IAF")
    register("mixture", "vaeflow.parts.posteriors.mixture:Mixture")
    register("realnvp", "vaeflow.parts.posteriors.realnvp:RealNVP")
    register("spline", "vaeflow.parts.posteriors.spline:Spline")


@hookimpl
def vaeflow_register_priors(register: Register) -> None:
    """Offer the built-in priors."""
    register("normal", "vaeflow.parts.priors.normal:Normal")
    register("mixture", "vaeflow.parts.priors.mixture:Mixture")
    register("flow", "vaeflow.parts.priors.flow:FlowPrior")
    register("vamp", "vaeflow.parts.priors.vamp:Vamp")


@hookimpl
def vaeflow_register_decoders(register: Register) -> None:
    """Offer the built-in decoders."""
    register("mlp", "vaeflow.parts.decoders.mlp:MLP")
    register("conv", "vaeflow.parts.decoders.conv:Conv")
    register("gated-conv", "vaeflow.parts.decoders.gated_conv:GatedConv")
    register("resnet", "vaeflow.parts.decoders.resnet:ResNet")


@hookimpl
def vaeflow_register_likelihoods(register: Register) -> None:
    """Offer the built-in likelihoods."""
    register("bernoulli", "vaeflow.parts.likelihoods.bernoulli:Bernoulli")
    register(
        "continuous-bernoulli", "vaeflow.parts.likelihoods.continuous_bernoulli:ContinuousBernoulli"
    )
    register("gaussian", "vaeflow.parts.likelihoods.gaussian:Gaussian")
    register("laplace", "vaeflow.parts.likelihoods.laplace:Laplace")
    register("student-t", "vaeflow.parts.likelihoods.student_t:StudentT")
    register("categorical", "vaeflow.parts.likelihoods.categorical:Categorical")
    register(
        "discretized-logistic", "vaeflow.parts.likelihoods.discretized_logistic:DiscretizedLogistic"
    )
    register(
        "discretized-logistic-mixture",
        "vaeflow.parts.likelihoods.discretized_logistic_mixture:DiscretizedLogisticMixture",
    )
    register("poisson", "vaeflow.parts.likelihoods.poisson:Poisson")
    register("negative-binomial", "vaeflow.parts.likelihoods.negative_binomial:NegativeBinomial")
    register("columns", "vaeflow.parts.likelihoods.columns:PerColumn")


@hookimpl
def vaeflow_register_objectives(register: Register) -> None:
    """Offer the built-in objectives."""
    register("elbo", "vaeflow.parts.objectives.elbo:ELBO")
    register("iwae", "vaeflow.parts.objectives.iwae:IWAE")
    register("dreg", "vaeflow.parts.objectives.iwae:DReG")
    register("stl", "vaeflow.parts.objectives.stl:STL")


@hookimpl
def vaeflow_register_engines(register: Register) -> None:
    """Offer the built-in engines, which spread runs."""
    register("local", "vaeflow.benchmark.engines:local")
    register("ray", "vaeflow.benchmark.engines:ray")
