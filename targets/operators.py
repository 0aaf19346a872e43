"""Which ONNX operators each execution provider has kernels for: named lists that board files refer to as "@name".

The lists are what the providers' own documentation states; restrictions on shapes and types are not modelled, so a
count of nodes that fall back is a lower bound. None of it has been checked on a board.
"""

from __future__ import annotations

from compressor.errors import TargetError, did_you_mean

__all__ = ["OPERATORS", "operators"]

# onnx-tensorrt, docs/operators.md, table of the TensorRT 8.5 release (JetPack 5.1).
_TENSORRT_8 = """
Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization Cast Ceil Celu Clip Concat
Constant ConstantOfShape Conv ConvTranspose Cos Cosh CumSum DepthToSpace DequantizeLinear Div Dropout Einsum Elu Equal
Erf Exp Expand EyeLike Flatten Floor Gather GatherElements GatherND Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool
Greater GreaterOrEqual GridSample GRU HardSwish HardSigmoid Identity If InstanceNormalization IsNaN LeakyRelu Less
LessOrEqual Log LogSoftmax Loop LRN LSTM LpNormalization LpPool MatMul Max MaxPool Mean MeanVarianceNormalization Min
Mod Mul Neg NonMaxSuppression NonZero Not OneHot Or Pad Pow PRelu QuantizeLinear RandomNormal RandomNormalLike
RandomUniform RandomUniformLike Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean
ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize ReverseSequence RNN RoiAlign Round Scan Scatter
ScatterElements ScatterND Selu Shape Shrink Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign SpaceToDepth
Split Sqrt Squeeze Sub Sum Tan Tanh ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze Upsample Where Xor
"""

# What the TensorRT 8.6 to 10.3 releases (JetPack 6.2) added to it.
_TENSORRT_10 = _TENSORRT_8 + "CastLike DeformConv Gelu GroupNormalization Hardmax IsInf LayerNormalization Mish STFT"

# onnxruntime, docs/OperatorKernels.md, CUDA section of release 1.16; later releases only add to it.
_CUDA = """
Abs Add Affine And ArgMax ArgMin AveragePool BatchNormalization Cast Ceil Clip Compress Concat ConcatFromSequence
ConstantOfShape Conv ConvTranspose Cos Crop CumSum DepthToSpace DequantizeLinear Div Dropout DynamicSlice Einsum Elu
Equal Erf Exp Expand EyeLike Flatten Floor GRU Gather GatherElements GatherND Gemm GlobalAveragePool GlobalMaxPool
Greater GreaterOrEqual HardSigmoid Identity If ImageScaler InstanceNormalization LRN LSTM LayerNormalization LeakyRelu
Less LessOrEqual Log LogSoftmax Loop MatMul MatMulInteger Max MaxPool Min Mod Mul Neg NonZero Not OneHot Or PRelu Pad
ParametricSoftplus Pow QuantizeLinear RNN RandomNormal RandomNormalLike RandomUniform RandomUniformLike Range
Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum
ReduceSumSquare Relu Reshape Resize ReverseSequence RoiAlign Round ScaledTanh Scan Scatter ScatterElements ScatterND
Selu SequenceAt SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength Shape Shrink Sigmoid Sign
Sin Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tanh ThresholdedRelu Tile TopK
Transpose Trilu Unsqueeze Upsample Where Xor
"""

# onnxruntime, XNNPACK execution provider page. QDQ pairs around a convolution, pool or softmax are fused into it.
_XNNPACK = """
AveragePool Conv ConvTranspose DequantizeLinear Gemm MatMul MaxPool QLinearConv QuantizeLinear Resize Softmax
"""

# onnxruntime.tools.mobile_helpers/nnapi_supported_ops.md in the 1.31.1 wheel.
_NNAPI = """
Abs Add AveragePool BatchNormalization Cast Clip Concat Conv DepthToSpace DequantizeLinear Div Elu Exp Flatten Floor
Gather Gemm GlobalAveragePool GlobalMaxPool Identity LeakyRelu Log LRN MatMul MaxPool Max Min Mul Neg Pad Pow PRelu
QLinearConv QLinearMatMul QuantizeLinear ReduceMean Relu Reshape Resize Sigmoid Sin Slice Softmax Split Sqrt Squeeze
Sub Tanh Transpose Unsqueeze
"""

# onnxruntime, QNN execution provider page; no dynamic shapes, no control flow.
_QNN = """
Abs Add And ArgMax ArgMin Asin Atan AveragePool BatchNormalization Cast Clip Concat Conv ConvTranspose Cos DepthToSpace
DequantizeLinear Div Elu Equal Exp Expand Flatten Floor Gather Gelu Gemm GlobalAveragePool Greater GreaterOrEqual
GridSample HardSwish InstanceNormalization LRN LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax
LpNormalization MatMul Max MaxPool Min Mul Neg Not Or PRelu Pad Pow QuantizeLinear ReduceMax ReduceMean ReduceMin
ReduceProd ReduceSum Relu Resize Reshape Round Sigmoid Sign Sin Slice Softmax SpaceToDepth Split Sqrt Squeeze Sub Tanh
Tile TopK Transpose Unsqueeze Where
"""

# onnxruntime.tools.mobile_helpers/coreml_supported_mlprogram_ops.md in the 1.31.1 wheel (model format MLProgram).
_COREML = """
Add And ArgMax AveragePool Cast Ceil Clip Concat Conv ConvTranspose Cos DepthToSpace Div Elu Erf Exp GatherND Gelu Gemm
GlobalAveragePool GlobalMaxPool GridSample GroupNormalization HardSigmoid Identity InstanceNormalization
LayerNormalization LeakyRelu MatMul Max MaxPool Mul PRelu Pow Reciprocal ReduceMax ReduceMean ReduceSum Relu Reshape
Resize Round Shape Sigmoid Sin Slice Softmax Softplus Split Sqrt Squeeze Sub Tanh Tile Transpose Unsqueeze Where
"""

# onnxruntime, js/web/docs/webgpu-operators.md (the JavaScript provider, which the native one succeeds).
_WEBGPU = """
Abs Acos Acosh Add ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization Cast Ceil Clip Concat Conv
ConvTranspose Cos Cosh Div Einsum Elu Equal Erf Exp Expand Flatten Floor Gather GatherElements Gemm GlobalAveragePool
GlobalMaxPool Greater GreaterOrEqual If InstanceNormalization LayerNormalization LeakyRelu Less LessOrEqual Log MatMul
MaxPool Mul Neg Not Pad Pow Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean
ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize Shape Sigmoid Sin Sinh Slice Softmax Split Sqrt
Squeeze Sub Tan Tanh ThresholdedRelu Tile Transpose Unsqueeze Where
"""

OPERATORS: dict[str, tuple[str, ...]] = {
    name: tuple(sorted(text.split()))
    for name, text in {
        "tensorrt-8.5": _TENSORRT_8, "tensorrt-10.3": _TENSORRT_10, "cuda": _CUDA, "xnnpack": _XNNPACK,
        "nnapi": _NNAPI, "qnn": _QNN, "coreml": _COREML, "webgpu": _WEBGPU,
    }.items()
}  # fmt: skip


def operators(names: tuple[str, ...], where: str = "") -> tuple[str, ...]:
    """Replace every "@list" by the operators of that list. Raises TargetError for a list that does not exist."""
    found: list[str] = []
    for name in names:
        if not name.startswith("@"):
            found.append(name)
        elif name[1:] in OPERATORS:
            found += OPERATORS[name[1:]]
        else:
            known = [f"@{known}" for known in OPERATORS]
            raise TargetError(f"no operator list is called {name!r}", where=where, way_out=did_you_mean(name, known))
    return tuple(dict.fromkeys(found))
