// Written by tools/fit_special_math.py: edit that, not this.
#pragma once
#include "core.h"

namespace usbgpu::math {

// sqrt(x) exp(-x) I0(x), x >= 8, t = 16/x - 1
USBGPU_FN double fit_i0_tail(double t) {
  return poly(t,
      0x1.9bd428ad249a5p-2, 0x1.b87969bb93bd4p-9, 0x1.1daa72b5e6473p-13, 0x1.75e5ee6f84d6dp-17,
      0x1.8e513a0d714ecp-20, 0x1.3f49b022325a4p-22, 0x1.7d0f9ebc1e923p-24, 0x1.51ca8a43c5867p-25,
      0x1.721a6c9412cc6p-26, 0x1.0418890810fd5p-27, -0x1.cd1bbb7e78d8fp-28, -0x1.cf7b2a281747cp-27,
      -0x1.7eb47ab6ed824p-28, 0x1.0d30da46be694p-27, 0x1.0fd0c47e96132p-27, -0x1.1f8eec39db734p-28,
      -0x1.db2a01c53da5cp-28, 0x1.6cdf212298d25p-29, 0x1.54a70ee464057p-28, -0x1.037f76b07b069p-29,
      -0x1.867bc3cbb9c62p-29, 0x1.4790a3febdb27p-30, 0x1.4688ba473a281p-30, -0x1.2f5755d7c75ccp-31,
      -0x1.5a02834cfe50ap-32, 0x1.5d4c48ff4b553p-33, 0x1.57c91289c49d0p-35, -0x1.71e66b5022dc6p-36);
}

// sqrt(x) exp(x) K0(x), 1 <= x <= 3, t = x - 2
USBGPU_FN double fit_k0_middle(double t) {
  return poly(t,
      0x1.30ae2423de262p+0, 0x1.ac450893fa54cp-6, -0x1.6a2e7f6783fefp-7, 0x1.37ba2b7a20c86p-8, -0x1.103e447538d74p-9,
      0x1.e15d779d45386p-11, -0x1.adfb5c7b5bb31p-12, 0x1.837d1afbcd463p-13, -0x1.5fdc8769bc9cbp-14,
      0x1.41a1236670e7cp-15, -0x1.27b42d663927fp-16, 0x1.11425d7cd7eb8p-17, -0x1.fb47112fd8438p-19,
      0x1.d8d0c147e10dfp-20, -0x1.bb134bcd87ea4p-21, 0x1.9fddddc57c3d6p-22, -0x1.7fe88084c9b8cp-23,
      0x1.6a3751d1cbf5ap-24, -0x1.8af46349f2af8p-25, 0x1.7769128022d8fp-26, -0x1.a04290de9f3a1p-29,
      0x1.8069c44394367p-30, -0x1.d1d907dbb3564p-28, 0x1.c09f3b22dc738p-29, 0x1.e37fb8a70a1b8p-30,
      -0x1.d420c5919322bp-31, -0x1.67744c9f715b5p-31, 0x1.5ad7b1d176053p-32);
}

// sqrt(x) exp(x) K0(x), x >= 3, t = 6/x - 1
USBGPU_FN double fit_k0_tail(double t) {
  return poly(t,
      0x1.3ab3f7c471ebdp+0, -0x1.6b6510bccf5d0p-6, 0x1.a23b7061c2afbp-10, -0x1.919f978eea950p-13,
      0x1.02af570508545p-15, -0x1.9619460790e4ep-18, 0x1.708532ebed1e9p-20, -0x1.763049f83e7eap-22,
      0x1.9fe343dfa2555p-24, -0x1.f21d0be491a45p-26, 0x1.3dace60069363p-27, -0x1.abdc9ec1d9c74p-29,
      0x1.2fd45c2018b0dp-30, -0x1.c030ab3ad14dfp-32, 0x1.3d2476a16327ep-33, -0x1.ebd08a0ba3998p-35,
      0x1.41038a03f8a2ap-35, -0x1.1c4fc9cd33b34p-36, -0x1.c90e6ae67cd69p-39, 0x1.03c63e1b4a067p-39,
      0x1.e3c441788bf97p-39, -0x1.d23cde9dcfb16p-40);
}

// sqrt(x) exp(-x) I1(x), x >= 8, t = 16/x - 1
USBGPU_FN double fit_i1_tail(double t) {
  return poly(t,
      0x1.8ebe783a84030p-2, -0x1.3f796198ee63fp-7, -0x1.cbc54df1ecdc1p-13, -0x1.f89c230420dfap-17,
      -0x1.ec8e1006cdf53p-20, -0x1.7613875eab7b4p-22, -0x1.ad8de1aad92f3p-24, -0x1.727658ca338efp-25,
      -0x1.91764cf65a9b2p-26, -0x1.2211feadc6bdbp-27, 0x1.cc19026149683p-28, 0x1.e4d7bca505b1cp-27,
      0x1.a64e66d75b662p-28, -0x1.0fdaee23d9456p-27, -0x1.20365dfa1f600p-27, 0x1.1821ea6088955p-28,
      0x1.f1b1621f08830p-28, -0x1.5b7ca90b032c4p-29, -0x1.6312005cbf934p-28, 0x1.edd954cbfa5d9p-30,
      0x1.964de25f6916bp-29, -0x1.3a0f7579a36b1p-30, -0x1.539c2b1097329p-30, 0x1.24f329f3aaf5ap-31,
      0x1.67e0328d6d137p-32, -0x1.5325236b8c588p-33, -0x1.65a118d9b1ee5p-35, 0x1.688485f6f6c06p-36);
}

// sqrt(x) exp(x) K1(x), 1 <= x <= 3, t = x - 2
USBGPU_FN double fit_k1_middle(double t) {
  return poly(t,
      0x1.7628990a85c65p+0, -0x1.80fb15bf9d160p-4, 0x1.60839fa057234p-5, -0x1.466bbff735a28p-6, 0x1.30f8c24a90642p-7,
      -0x1.1f00ab6f0ee96p-8, 0x1.0fb49ad0346a9p-9, -0x1.0280f0e692680p-10, 0x1.edf37db1cbcbfp-12,
      -0x1.d99cbfec7f67ep-13, 0x1.c782b0f9bd1d7p-14, -0x1.b7466d643caa3p-15, 0x1.a8a04eb9f1a67p-16,
      -0x1.9b4dd404b2ce5p-17, 0x1.8eea3c9e81f5fp-18, -0x1.83beb8ba4d69dp-19, 0x1.7c0241d7a82a1p-20,
      -0x1.7270b34075f2fp-21, 0x1.53f89361f1777p-22, -0x1.4bf7bb34fc294p-23, 0x1.c7524ae49bf11p-24,
      -0x1.be9534c82f242p-25, -0x1.000e91d1b7eb0p-27, 0x1.00a36feee16cfp-28, 0x1.8ab3e8f3d8be3p-26,
      -0x1.8506ce5e6f807p-27, -0x1.d36f1576a3969p-28, 0x1.cd5d1d4379969p-29, 0x1.148cea924b688p-29,
      -0x1.10addc2c972e3p-30);
}

// sqrt(x) exp(x) K1(x), x >= 3, t = 6/x - 1
USBGPU_FN double fit_k1_tail(double t) {
  return poly(t,
      0x1.53fb5e5efd8a9p+0, 0x1.2514790390cd3p-4, -0x1.75631be08b922p-9, 0x1.2c40c4ae6fd03p-12,
      -0x1.62449bf90d341p-15, 0x1.07bbeb44fddbdp-17, -0x1.cde560596bc86p-20, 0x1.c91272068b099p-22,
      -0x1.f22a2b3ccf231p-24, 0x1.25c40d5a533e6p-25, -0x1.720ed43ed0fc7p-27, 0x1.ed48d8babe1dcp-29,
      -0x1.5b23c28221bcap-30, 0x1.fc3b82983f14cp-32, -0x1.66685d6a5450dp-33, 0x1.1474eddbc13eep-34,
      -0x1.62c75f34a6e19p-35, 0x1.38b7df2595260p-36, 0x1.e2c34926495adp-39, -0x1.13d224f91f463p-39,
      -0x1.0763ca954e740p-38, 0x1.fa534c143a02dp-40);
}

// M of order 0, 1.5 <= x <= 5, t = (x - 3.25)/1.75
USBGPU_FN double fit_hankel0_modulus_middle(double t) {
  return poly(t,
      0x1.fd502422afc69p-1, 0x1.4e6c72f767b4dp-8, -0x1.dede11bdebdfep-9, 0x1.2ce43dddab264p-9,
      -0x1.5f99fe7e84fafp-10, 0x1.88a1989af90fbp-11, -0x1.a988e5da92081p-12, 0x1.c3f9cf5ca95c2p-13,
      -0x1.d982f2d91dec7p-14, 0x1.eb7db23c3ab65p-15, -0x1.fb0664b618d22p-16, 0x1.0480c0ed4ac98p-16,
      -0x1.0b16fc02962fep-17, 0x1.117c5cee5d02ep-18, -0x1.1776ba7f56786p-19, 0x1.1e12edbbd4c32p-20,
      -0x1.2a5d29ea4424cp-21, 0x1.31eea55b8a3d0p-22, -0x1.0cd29ae23d9cep-23, 0x1.1372934c689efp-24,
      -0x1.163acfd49786ep-24, 0x1.201bf7eb18b7bp-25, 0x1.2635930e5d4e7p-26, -0x1.3534d3440b613p-27,
      -0x1.6d8481a73cd46p-26, 0x1.7d149d9d80719p-27, 0x1.ed374942cbf5bp-28, -0x1.01891044b2042p-28,
      -0x1.02c3e7eb30058p-29, 0x1.0dd031def3de3p-30);
}

// x^2 (P - -1/8) of order 0, 1.5 <= x <= 5, t = (x - 3.25)/1.75
USBGPU_FN double fit_hankel0_phase_middle(double t) {
  return poly(t,
      0x1.adcd32bed430bp-5, 0x1.3242a10898e16p-7, -0x1.3a0ba5bbcd841p-8, 0x1.0992c105e8a24p-9,
      -0x1.83cffa0cd3c20p-11, 0x1.e6f77ee2a0c2fp-13, -0x1.e807a6ada0b66p-15, 0x1.f64696bd7eb8fp-18,
      0x1.d9a1c9e4fb322p-19, -0x1.097174e0a52edp-18, 0x1.550147722e6d9p-19, -0x1.7014ad0a13378p-20,
      0x1.6cce594ec2dadp-21, -0x1.584491cb02836p-22, 0x1.3b3f91e8ae8dcp-23, -0x1.1b63934a942dep-24,
      0x1.f8b37ee3d562fp-26, -0x1.be0994a8a43b0p-27, 0x1.8227b19cfb612p-28, -0x1.541776c8794e5p-29,
      0x1.57385aed419e2p-30, -0x1.327f2598a476cp-31, 0x1.61667a70a8d39p-34, -0x1.1d5bab5d7e7cdp-35,
      0x1.35cc331dd2133p-33, -0x1.20b095724e6b5p-34, -0x1.229005ca71d40p-35, 0x1.149800b4cca04p-36,
      0x1.90915a73a1e57p-37, -0x1.780f5a9da777dp-38);
}

// M of order 0, x >= 5, t = 50/x^2 - 1
USBGPU_FN double fit_hankel0_modulus_tail(double t) {
  return poly(t,
      0x1.ff611c4cdbfe8p-1, -0x1.34b01884614bdp-10, 0x1.0c9cd06f7e2dap-15, -0x1.3632da522c4c3p-19,
      0x1.30859ae827353p-22, -0x1.a402b4630f2ddp-25, 0x1.6f5121022b88dp-27, -0x1.7eeafa6258b3fp-29,
      0x1.c8beae6a18706p-31, -0x1.2f61705ac421fp-32, 0x1.c06b516d63601p-34, -0x1.6166fa3d7ba4bp-35,
      0x1.b6c4a97e5e634p-37, -0x1.51dfc154262a4p-38, 0x1.1b5add4c18c77p-37, -0x1.3b6322654864ap-38,
      -0x1.7d71b7e9010e3p-39, 0x1.e464e9da653d9p-40, 0x1.87f7097a00bc6p-40, -0x1.d05f2d8771ec5p-41);
}

// x^2 (P - -1/8) of order 0, x >= 5, t = 50/x^2 - 1
USBGPU_FN double fit_hankel0_phase_tail(double t) {
  return poly(t,
      0x1.f744ea6f12c11p-5, -0x1.a98ce76c0d900p-9, 0x1.6e33b103b0b89p-12, -0x1.de22d0916845bp-15,
      0x1.9ba566a8d2e27p-17, -0x1.afad47a9a7bffp-19, 0x1.06605d21867e2p-20, -0x1.65c4abc176520p-22,
      0x1.0b68be7f48a26p-23, -0x1.af072f8618110p-25, 0x1.720e4d12b713cp-26, -0x1.4f1f4f40a9092p-27,
      0x1.3aeb25b3b2d37p-28, -0x1.3561b56b64bf4p-29, 0x1.7214270dff783p-30, -0x1.9cd5c5e3eab3bp-31,
      -0x1.2216d89fc9e12p-32, 0x1.22f16206a8cafp-32, 0x1.a2863e2e3708bp-30, -0x1.363734905f1a6p-30,
      -0x1.490956262f53fp-29, 0x1.f0cfb7b43a32ap-30, 0x1.9cc25ac43b281p-29, -0x1.3630429ca3746p-29,
      -0x1.61b3438be8d6cp-29, 0x1.09d40a289ade3p-29, 0x1.98f69703ab54fp-30, -0x1.32cf1b5f7ecc9p-30,
      -0x1.1b78d6809dbb3p-31, 0x1.a8b798dd5690ep-32, 0x1.6f6b32a090d36p-34, -0x1.124159aa461f8p-34);
}

// M of order 1, 1.5 <= x <= 5, t = (x - 3.25)/1.75
USBGPU_FN double fit_hankel1_modulus_middle(double t) {
  return poly(t,
      0x1.04344e44c031bp+0, -0x1.0ef881cc955afp-6, 0x1.9426725532a5ep-7, -0x1.097b2fc6bd5b8p-7, 0x1.44f6e1af3c08cp-8,
      -0x1.7c5de34170d8ap-9, 0x1.afe716f056d54p-10, -0x1.e00004fd6864cp-11, 0x1.069888dedbe46p-11,
      -0x1.1c06110746638p-12, 0x1.30916cc711a28p-13, -0x1.44806994c2550p-14, 0x1.5812a44a2c5e8p-15,
      -0x1.6b8b9b5c58155p-16, 0x1.7f57877ae3057p-17, -0x1.9348798f419c9p-18, 0x1.a4f369348f97dp-19,
      -0x1.b9fede4bc057dp-20, 0x1.ec3764d0678efp-21, -0x1.0284a050a4ab2p-21, 0x1.4f020607e0d8fp-23,
      -0x1.5dce5e6fec037p-24, 0x1.74a1f0e2a70cdp-23, -0x1.8a59ef8837d6ep-24, -0x1.55852ebbf336dp-24,
      0x1.6b76028c5f49cp-25, 0x1.1a8dd5a5e9034p-24, -0x1.2bf52100dbaa8p-25, -0x1.7bcae252f3978p-26,
      0x1.937906b26cd28p-27, 0x1.55cf57f409338p-28, -0x1.6ad2c472c3131p-29);
}

// x^2 (P - 3/8) of order 1, 1.5 <= x <= 5, t = (x - 3.25)/1.75
USBGPU_FN double fit_hankel1_phase_middle(double t) {
  return poly(t,
      -0x1.1eb7fc6ff090ep-3, -0x1.371266dc708c7p-6, 0x1.5b8f2dac7de66p-7, -0x1.49012e7eabf07p-8,
      0x1.1794ba6c2dad9p-9, -0x1.b4620e0776d49p-11, 0x1.39d4c3396f45bp-12, -0x1.9868805313f63p-14,
      0x1.c1a298e50f494p-16, -0x1.36d14a59e0b3ap-18, -0x1.23a124f898967p-20, 0x1.eac4683157a9bp-20,
      -0x1.7429632b9baa0p-20, 0x1.ce2c2b007b7d9p-21, -0x1.05622412d0056p-21, 0x1.17f6e9a734b1ep-22,
      -0x1.21547885e387cp-23, 0x1.22e1aba1d6e7ep-24, -0x1.1cd941465cca0p-25, 0x1.1454509afae75p-26,
      -0x1.11625a02d326fp-27, 0x1.fae8a30f33ae2p-29, -0x1.7e236c22a50fcp-30, 0x1.78b3f79609df9p-31,
      -0x1.31aa171de4eedp-31, 0x1.db58dae771e55p-33, 0x1.1632b13217ae7p-35, -0x1.781cd3360720cp-40,
      -0x1.528ca168d7026p-35, 0x1.e2ba9d72f0df3p-37);
}

// M of order 1, x >= 5, t = 50/x^2 - 1
USBGPU_FN double fit_hankel1_modulus_tail(double t) {
  return poly(t,
      0x1.00f10d1ad2220p+0, 0x1.d94e98b946fc2p-9, -0x1.080bab4abcfb9p-14, 0x1.eb9cb4941f967p-19,
      -0x1.b0b94944aaf76p-22, 0x1.189eca28b73c8p-24, -0x1.d82cdc622ce04p-27, 0x1.df4c1600d4fb4p-29,
      -0x1.185927b4485b9p-30, 0x1.6ee75f28d8f3ap-32, -0x1.0b9e204032f68p-33, 0x1.a18a5c8460e96p-35,
      -0x1.05359a6db19e9p-36, 0x1.920b6d0d0b190p-38, -0x1.416dc4c6915f2p-37, 0x1.63c860cdf8686p-38,
      0x1.a7ad0711898c8p-39, -0x1.0ccf4f751c1f7p-39, -0x1.b82665d80196cp-40, 0x1.03f624d06a94cp-40);
}

// x^2 (P - 3/8) of order 1, x >= 5, t = 50/x^2 - 1
USBGPU_FN double fit_hankel1_phase_tail(double t) {
  return poly(t,
      -0x1.4262abd7864d0p-3, 0x1.89dfe90eed328p-8, -0x1.1920e313b60bdp-11, 0x1.4cdf99636133bp-14,
      -0x1.0eff4ce5f1fc7p-16, 0x1.124133a68c154p-18, -0x1.4549d4bb5d777p-20, 0x1.b398bddffd2abp-22,
      -0x1.411314be85fd0p-23, 0x1.ffcd100cdecafp-25, -0x1.b30151fd79f17p-26, 0x1.86b3dc14506c5p-27,
      -0x1.76acbf45b962cp-28, 0x1.72cc6f2d78118p-29, -0x1.0aeff1eec5f03p-30, 0x1.d9cc21376ca9bp-32,
      -0x1.80f9987d17cedp-30, 0x1.0982283bb3492p-30, 0x1.0423575fe1400p-29, -0x1.86020b90db14ap-30,
      -0x1.85d1c459feb73p-29, 0x1.1f410aafaf85ap-29, 0x1.6f62ea5f3d39cp-29, -0x1.0f63e2f9f077ap-29,
      -0x1.d7945203a3093p-30, 0x1.5b5d74c38a73bp-30, 0x1.65481c458b171p-31, -0x1.06d74a276c596p-31,
      -0x1.fef1c868b605ep-34, 0x1.7611668541082p-34);
}

// Y0(x)/(x - z) about its first zero z, 0.7 <= x <= 1.5, t = (x - 1.1)/0.4
USBGPU_FN double fit_y0_near_zero(double t) {
  return poly(t,
      0x1.92386da0e7582p-1, -0x1.5b1e2f9cf125dp-3, 0x1.4189c738f2b0cp-6, -0x1.c17870022f5a7p-8, 0x1.33ab5ab52c26fp-9,
      -0x1.778a96950f904p-11, 0x1.d7096082611b1p-13, -0x1.2e407426c2fa8p-14, 0x1.8909b0bad99dap-16,
      -0x1.0254d4165b704p-17, 0x1.56b1656f9e973p-19, -0x1.ca173ab5de8a9p-21, 0x1.34282e2a36270p-22,
      -0x1.a0edc000953f2p-24, 0x1.1ba1e2de5b044p-25, -0x1.8342644088911p-27, 0x1.06a35ad5ebdb4p-28,
      -0x1.691107494faf5p-30, 0x1.0fc0a5ca1ef8dp-31, -0x1.782c6a4438f23p-33, 0x1.17d7ad567572bp-35,
      -0x1.8249632d6015dp-37, 0x1.f68bd12fce97fp-37, -0x1.5f4cc2cb706cfp-38);
}

// Ai(x)/(x - z) about its first zero z, -2.6 <= x <= -2.1, t = 4x + 9.4
USBGPU_FN double fit_airy_near_zero(double t) {
  return poly(t,
      0x1.670006d14167bp-1, 0x1.ab8ceadbbf32cp-10, -0x1.19ea78d2e130ep-6, 0x1.d2161eebfdfc8p-11,
      0x1.0c56657fcefb1p-13, -0x1.bead8ef805864p-17, -0x1.fa27d32a4e8c5p-24, 0x1.2f72626f8627ap-24,
      -0x1.6bc910200ccbcp-29, -0x1.2ada847eff7d4p-33, 0x1.dd80f49fd0729p-37, -0x1.6c78a1fabcc2ap-43,
      -0x1.db2a2dd05bd17p-46, 0x1.72ef4e3be4168p-50);
}

// Ai(x), -2.1 <= x <= -1.1, t = 2x + 3.2
USBGPU_FN double fit_airy_below(double t) {
  return poly(t,
      0x1.b82e000bf0465p-2, 0x1.83a0907a5ba15p-3, -0x1.6024ccd659d1bp-4, -0x1.e010462e7db00p-9, 0x1.3d04e1ac2c194p-8,
      -0x1.e69ead26905e6p-12, -0x1.4e880ac879c82p-14, 0x1.3bb09f511f881p-16, -0x1.f48f309aaa045p-22,
      -0x1.04ed0a614a18dp-22, 0x1.e493d3adf57a9p-26, 0x1.852105897bfe0p-32, -0x1.5b10960182780p-32,
      0x1.7d8c6b71a1787p-36, 0x1.12550e8b4acdcp-40, -0x1.fd15bde933454p-43);
}

// Ai(x), -1.1 <= x <= 0, t = (x + 0.55)/0.55
USBGPU_FN double fit_airy_middle(double t) {
  return poly(t,
      0x1.f147161db6e26p-2, -0x1.af527c73fee21p-4, -0x1.4af03438e519dp-5, 0x1.0c7762ec39a24p-6,
      -0x1.d7ccf21bb6a6cp-11, -0x1.ef5088a333ed1p-12, 0x1.921535995e704p-14, -0x1.c69af24c58473p-20,
      -0x1.c52ce0e0952e7p-20, 0x1.e41cd20ea203fp-23, -0x1.599901601f1f1p-37, -0x1.8dcd6ff990578p-29,
      0x1.386535bd5e920p-32, 0x1.b2b401e9682fep-39, -0x1.96716ad16e014p-39, 0x1.e44573e044414p-43);
}

// Ai(x), 0 <= x <= 1.1, t = (x - 0.55)/0.55
USBGPU_FN double fit_airy_above(double t) {
  return poly(t,
      0x1.c3c77425b95a8p-3, -0x1.ed4fd4d8d4075p-4, 0x1.2ca8b45608891p-6, 0x1.6c0679e012f21p-9,
      -0x1.73092d9bbbc2cp-10, 0x1.7097edc92cdd9p-13, 0x1.fadda0769059fp-18, -0x1.498ac5c52b0ecp-18,
      0x1.246387417ba93p-21, 0x1.a3964ae714778p-28, -0x1.1550e4e4caab1p-27, 0x1.c9ee1b805a6ccp-31,
      -0x1.582876455bd12p-39, -0x1.0fb4168f3385cp-37, 0x1.a07c87f1a07c1p-41, -0x1.c31f2e268b159p-48);
}

// Ai(x), 1.1 <= x <= 2.1, t = 2x - 3.2
USBGPU_FN double fit_airy_beyond(double t) {
  return poly(t,
      0x1.0026b3684ff90p-4, -0x1.6455d25aba079p-5, 0x1.99d78573b3280p-7, -0x1.a2a59e5899b31p-10,
      -0x1.2f978430b75c9p-15, 0x1.83d01e42f9bd8p-15, -0x1.def09bb1fb498p-18, 0x1.651bc1c51cb2ap-22,
      0x1.c08aaf0e551f1p-25, -0x1.6a3d0733ad441p-27, 0x1.7d87a8328ac8bp-31, 0x1.7174d2c884af9p-36,
      -0x1.1556b9b29e0aap-37, 0x1.5762ef4644560p-41, -0x1.dcca31266d3b0p-50, -0x1.001814f71a1dap-48);
}

// 2 sqrt(pi) x^(1/4) exp(zeta) Ai(x), zeta = 2/3 x^1.5 >= 2, t = 4/zeta - 1
USBGPU_FN double fit_airy_tail(double t) {
  return poly(t,
      0x1.f812f787061e3p-1, -0x1.c88821ce788d0p-7, 0x1.52a2e74918e05p-10, -0x1.a4acdc5db4efdp-13,
      0x1.59d9da99b1af1p-15, -0x1.55ab315ac938cp-17, 0x1.81542d1c1d12ap-19, -0x1.e0e515496795dp-21,
      0x1.454ded18bfd46p-22, -0x1.d64001d9520cap-24, 0x1.674827aa0f037p-25, -0x1.1fe465fc4752ap-26,
      0x1.e2968ae1ab1cfp-28, -0x1.a26f9341e505cp-29, 0x1.61ea9626cfd72p-30, -0x1.409ab7736ca77p-31,
      0x1.d00a3c44d1e08p-32, -0x1.e0dc4e0a4597ap-33, -0x1.954db9bf604f3p-34, 0x1.0eefa54556e7ep-34,
      0x1.502552cb5f291p-33, -0x1.8adbfc8032d24p-34, -0x1.10ec9b16cef57p-34, 0x1.4706a3ff42a51p-35,
      0x1.36ffb16ec313dp-36, -0x1.6dc097089bc64p-37);
}

// sqrt(pi) x^(1/4) |Ai(-x) - i Bi(-x)|, 2 <= zeta <= 7, t = (zeta - 4.5)/2.5
USBGPU_FN double fit_airy_modulus_middle(double t) {
  return poly(t,
      0x1.ff2dc0a61987ep-1, 0x1.b80c8bd83b136p-10, -0x1.54c68fd206b63p-10, 0x1.d035e867d211ap-11,
      -0x1.2607d56b4a28cp-11, 0x1.6377e0751d74dp-12, -0x1.a01abddb960abp-13, 0x1.dbee3e7375e20p-14,
      -0x1.0b954079db48fp-14, 0x1.29183ca914f9dp-15, -0x1.46be1d46fb505p-16, 0x1.64cc909dc889dp-17,
      -0x1.83892f796884bp-18, 0x1.a34b080ce13a4p-19, -0x1.c4c09bd8a3865p-20, 0x1.e7770e2faf47bp-21,
      -0x1.035404705150cp-21, 0x1.168b793adcb4fp-22, -0x1.46637d168e8c6p-23, 0x1.5e95f2cd4417bp-24,
      -0x1.5df0dce794ce7p-26, 0x1.74452fcc82ae3p-27, -0x1.41d15e24033f5p-25, 0x1.5bbc13c4d0b56p-26,
      0x1.58d5cb7c3c097p-26, -0x1.7604ef1b422adp-27, -0x1.09c122f003628p-26, 0x1.1fc0bcfb4e1f4p-27,
      0x1.6c6ca9dc8b857p-28, -0x1.8acaacda370c2p-29, -0x1.3e33825be1b20p-30, 0x1.5872d77ec1b79p-31);
}

// zeta^2 (5/72 + zeta times the phase beyond zeta - pi/4), 2 <= zeta <= 7, t = (zeta - 4.5)/2.5
USBGPU_FN double fit_airy_phase_middle(double t) {
  return poly(t,
      0x1.00f0f0b37d25ep-5, 0x1.dcbfc818205e3p-9, -0x1.27eaaf5c9c709p-9, 0x1.36cd0972d6775p-10,
      -0x1.23e04c2dabfe3p-11, 0x1.f5028dfa60cacp-13, -0x1.8aef814bb564dp-14, 0x1.1ab6ad3ba9fe1p-15,
      -0x1.606b94a6a2d38p-17, 0x1.499ae2374ecbfp-19, -0x1.1b0ebd6befaa0p-24, -0x1.ca0c32eb4cb78p-22,
      0x1.9f34a1506dfc7p-22, -0x1.1267b319c2afdp-22, 0x1.3f569b5c94987p-23, -0x1.5b4107b529daep-24,
      0x1.6c15097cd3fdcp-25, -0x1.71129780fd3bcp-26, 0x1.5db30ce5dc882p-27, -0x1.57541e206c3b1p-28,
      0x1.b78551f753104p-29, -0x1.aa49f1bd556a5p-30, -0x1.6837674388c33p-34, 0x1.9537d50bc6475p-35,
      0x1.4a75c6e01ef9ep-31, -0x1.4280bc1f5cb3dp-32, -0x1.73e8018bf2fe1p-33, 0x1.6daa08c49269ap-34,
      0x1.c626cab9003e1p-35, -0x1.bba0199211bc4p-36);
}

// sqrt(pi) x^(1/4) |Ai(-x) - i Bi(-x)|, zeta >= 7, t = 98/zeta^2 - 1
USBGPU_FN double fit_airy_modulus_tail(double t) {
  return poly(t,
      0x1.ffd246ba46589p-1, -0x1.685237295b85ap-12, 0x1.4eb14b86b1fe8p-18, -0x1.c25b18b94fe45p-23,
      0x1.142690cd9be4ap-26, -0x1.f753ba5ff9e74p-30, 0x1.3054186ef56d4p-32, -0x1.c7176258f81e5p-35,
      0x1.911483bd9e5c0p-37, -0x1.93a77ff18782ap-39, 0x1.d2682fc197fe2p-41, -0x1.22721d6e07a11p-42,
      0x1.0661f75013046p-44, -0x1.48c44d396dec1p-46, 0x1.a80b750a920c5p-46, -0x1.681dfd8a5d454p-47);
}

// zeta^2 (5/72 + zeta times the phase beyond zeta - pi/4), zeta >= 7, t = 98/zeta^2 - 1
USBGPU_FN double fit_airy_phase_tail(double t) {
  return poly(t,
      0x1.1a64e8814ea75p-5, -0x1.022358077782bp-10, 0x1.03938c13ae9a7p-14, -0x1.a7ddb4d601a68p-18,
      0x1.e285e85458783p-21, -0x1.5df587d7325ecp-23, 0x1.31318b8cd7c61p-25, -0x1.33a4d3962019cp-27,
      0x1.5c8bef183bf0ep-29, -0x1.b2cab63233c04p-31, 0x1.2621482113e43p-32, -0x1.aa31db34829a6p-34,
      0x1.439f67ac8feb2p-35, -0x1.0461f3da34c83p-36, 0x1.014e1567b7b12p-37, -0x1.dc1615f01e91dp-39,
      -0x1.aef07757008dep-44, 0x1.073bbc402cb14p-42, 0x1.bf7d55a25835bp-40, -0x1.06cc5e3e6591cp-40,
      -0x1.6a0d97f7a124ep-41, 0x1.bcdce87ad813bp-42, 0x1.df0519b0beb45p-43, -0x1.1ccd666883e73p-43);
}

// sum H_k z^k/k!^2, |z| <= 0.57
USBGPU_FN double k0_series(double z) {
  return poly(z,
      0x0.0p+0, 0x1.0000000000000p+0, 0x1.8000000000000p-2, 0x1.a12f684bda12fp-5, 0x1.da12f684bda13p-9,
      0x1.4c88d634a424bp-13, 0x1.3d2970bdbb137p-18, 0x1.b6682a64d5cf7p-24, 0x1.cb8acea43b17dp-30,
      0x1.79f068734aa1bp-36, 0x1.f4dcc2465f674p-43, 0x1.1124367d45fb2p-49);
}

// sum (psi(k+1) + psi(k+2)) z^k/(k! (k+1)!), |z| <= 0.57
USBGPU_FN double k1_series(double z) {
  return poly(z,
      -0x1.3c467e37db0c8p-3, 0x1.58773039049e7p-1, 0x1.73ddae5ee6a28p-3, 0x1.3a47ef81a33cfp-6, 0x1.2462822a45268p-10,
      0x1.5b7a177f5639bp-15, 0x1.1fa413136952dp-20, 0x1.5f60a13589756p-26, 0x1.4a1428fc835c7p-32,
      0x1.ec021b49cd260p-39, 0x1.2a217002356e7p-45, 0x1.2b9a5940d0c02p-52);
}

// I0 and J0: sum z^k/k!^2. 26 terms for |z| <= 16, 11 for |z| <= 0.57
USBGPU_TABLE double kBessel0[26] = {
    0x1.0000000000000p+0, 0x1.0000000000000p+0, 0x1.0000000000000p-2, 0x1.c71c71c71c71cp-6, 0x1.c71c71c71c71cp-10,
    0x1.23456789abcdfp-14, 0x1.02e85c0898b71p-19, 0x1.522a43f65486ap-25, 0x1.522a43f65486ap-31,
    0x1.0b313289be0b9p-37, 0x1.5601885e63e5dp-44, 0x1.69ca9cf3b7f54p-51, 0x1.4197a7f5154bcp-58,
    0x1.e725594ee52e9p-66, 0x1.3e22d70ef3b5fp-73, 0x1.69f7da8510bcdp-81, 0x1.69f7da8510bcdp-89,
    0x1.40a2dc2460523p-97, 0x1.faaf2fa1c79e5p-106, 0x1.674f8e46c208cp-114, 0x1.cbeaf38dc529fp-123,
    0x1.0afb53e9cec0bp-131, 0x1.1a6d4e307528fp-140, 0x1.1159d2b18fe1fp-149, 0x1.e5f504c9e358cp-159,
    0x1.8e189760fbc74p-168};

// I1 2/x and J1 2/x: sum z^k/(k! (k+1)!), the same
USBGPU_TABLE double kBessel1[26] = {
    0x1.0000000000000p+0, 0x1.0000000000000p-1, 0x1.5555555555555p-4, 0x1.c71c71c71c71cp-8, 0x1.6c16c16c16c17p-12,
    0x1.845c8a0ce5129p-17, 0x1.27e4fb7789f5cp-22, 0x1.522a43f65486ap-28, 0x1.2c9758daf5cd0p-34,
    0x1.ab81ea75fcdf4p-41, 0x1.f17697cf1cf13p-48, 0x1.e2637bef9ff1ap-55, 0x1.8bce58901a35ep-62,
    0x1.165e7c2d153f3p-69, 0x1.53585cdcbfb10p-77, 0x1.69f7da8510bcdp-85, 0x1.54ad09e6a6575p-93,
    0x1.1d028acb00491p-101, 0x1.aaae78f4066a6p-110, 0x1.1f72d8389b3a3p-118, 0x1.5e69de22df5cep-127,
    0x1.84564b82a1184p-136, 0x1.88f11edf3ed4cp-145, 0x1.6c77c3976a829p-154, 0x1.37033643c4b3bp-163,
    0x1.e9f6e1b270f54p-173};

inline constexpr double kY0ZeroHigh = 0x1.c982eb8d417eap-1, kY0ZeroLow = 0x1.ea9d270347f83p-56;

inline constexpr double kAiryZeroHigh = -0x1.2b471a873adf9p+1, kAiryZeroLow = -0x1.68d7a31cc8091p-55;

}  // namespace usbgpu::math
