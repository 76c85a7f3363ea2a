// Runs an exported network in onnxruntime-web: node run_onnx.cjs NET.onnx IN.bin N,C,H,W OUT.bin (float32 values).
const fs = require('fs');
const ort = require('onnxruntime-web');

async function main([network, input, shape, output]) {
  const session = await ort.InferenceSession.create(fs.readFileSync(network));
  const values = new Float32Array(new Uint8Array(fs.readFileSync(input)).buffer);
  const { dehazed } = await session.run({ hazy: new ort.Tensor('float32', values, shape.split(',').map(Number)) });
  fs.writeFileSync(output, new Uint8Array(dehazed.data.buffer, dehazed.data.byteOffset, dehazed.data.byteLength));
}

main(process.argv.slice(2));
