"""FFALiteNet is FFA-Net, narrower."""

import torch

from okdnet_plugin.archs.ffalitenet_arch import FFALiteNet
from okdnet_plugin.archs.ffanet_arch import FFANet


def test_it_is_ffa_net_of_another_size():
    net, same = FFALiteNet(), FFANet(num_feat=16, num_blocks=6)
    same.load_state_dict(net.state_dict(), strict=True)
    hazy = torch.rand(1, 3, 16, 20)
    assert torch.equal(net(hazy), same(hazy))


def test_normalised_hazy_image_is_added():
    net = FFALiteNet(8, blocks=1)
    for parameter in net.tail[-1].parameters():
        torch.nn.init.zeros_(parameter)
    hazy = torch.rand(1, 3, 16, 16)
    mean, std = torch.tensor([0.64, 0.60, 0.58]), torch.tensor([0.14, 0.15, 0.152])
    expected = (hazy - mean[:, None, None]) / std[:, None, None]
    torch.testing.assert_close(net(hazy), expected)
